-- Purpose: the error codes of the `looked_at` latest sent of the tasks that have ended, each once, in alphabetical order, for
-- suggestions when a code was mistyped.
-- How it looks: down the primary keys of history's partitions, as `list_tasks` does.
-- Locks: none. Called by: the broker object, for the command line.
create function horsies.ended_codes(looked_at int default 100000) returns setof text
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    return query
    select distinct late.error_code
    from (select h.error_code from horsies.history h order by h.id desc limit looked_at) as late
    where late.error_code is not null
    order by late.error_code;
end
$function$;
