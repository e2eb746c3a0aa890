-- The ids of all ended tasks except built-in ones, in the order in which they ended.
select h.id from horsies.history h where not starts_with(h.task_name, 'horsies.') order by h.finished_at, h.id
