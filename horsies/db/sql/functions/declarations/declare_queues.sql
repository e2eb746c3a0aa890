-- Purpose: Store what an app declares about keys and rates of its queues: the declaration of the worker that started
-- last applies. The arrays have one element for each queue; rates are JSON texts like those in `queues`. A queue for
-- which nothing is declared gets no row. Workers are woken if a declaration has changed.
-- Locks: the locks of the queues that have a row or get one; then their rows. Both in the order of their names. Then
-- rows of `rates`.
-- Called by: queries/flow.py.
-- Granted to: worker.
create function horsies.declare_queues(
    names text[], takes_turns boolean[], per_keys int[], rates text[], rates_per_key text[]
) returns void
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    given record;
    before text;
begin
    perform horsies.lock_limits(array_agg('queue ' || d.name), true)
    from unnest(names, takes_turns, rates) as d (name, takes_turns, rate)
    where d.takes_turns or d.rate is not null or exists (select from horsies.queues q where q.name = d.name)
    having count(*) > 0;
    for given in
        select d.* from unnest(names, takes_turns, per_keys, rates, rates_per_key)
            as d (name, takes_turns, per_key, rate, rate_per_key)
        order by d.name
    loop
        select (q.turns, q.declared_per_key, q.declared_rate::text, q.declared_rate_per_key::text)::text into before
        from horsies.queues q where q.name = given.name for update;
        if given.takes_turns or given.rate is not null then
            insert into horsies.queues (name) values (given.name) on conflict do nothing;
        end if;
        update horsies.queues q
        set turns = case when given.takes_turns then 'on' when q.turns = 'on' then 'ending' else q.turns end,
            declared_per_key = given.per_key, declared_rate = given.rate::json,
            declared_rate_per_key = given.rate_per_key::json
        where q.name = given.name;
        perform horsies.update_rates(given.name);
        perform horsies.forget_queue(given.name);
        perform horsies.announce_wake() where before is distinct from (
            select (q.turns, q.declared_per_key, q.declared_rate::text, q.declared_rate_per_key::text)::text
            from horsies.queues q where q.name = given.name);
    end loop;
end
$function$;
