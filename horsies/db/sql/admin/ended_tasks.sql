-- The ids of all ended tasks except built-in ones, in the order in which they ended.
select h.id from horsies.history h where h.task_name not like 'horsies.%' order by h.finished_at, h.id
