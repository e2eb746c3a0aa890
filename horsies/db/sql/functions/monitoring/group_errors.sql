-- Purpose: Return the error group of each combination of task, code, frame and message, and record when its failures
-- were seen. `given` is a JSON array of objects with the properties of a group. Groups that do not exist are created
-- within the limits that `sample_errors` explains; the group of a combination beyond them has `is_other`.
--
-- Only one session at a time calls this, because `sample_errors` locks the row of `sampling`.
-- Planner settings: see docs/architecture.md.
-- Locks: rows of `error_groups`.
-- Called by: sample_errors.
-- Granted to: nobody.
create function horsies.group_errors(given json)
returns table (task_name text, error_code text, frame text, message text, group_id bigint)
language plpgsql
set enable_seqscan = off set enable_mergejoin = off set jit = off
as $function$
#variable_conflict use_column
begin
    return query
    with content as materialized (
        select c.*, horsies.error_digest(false, c.error_code, c.frame, c.message) as digest
        from json_to_recordset(given) as c (task_name text, error_code text, frame text, message text,
                                            first_seen timestamptz, last_seen timestamptz, example_id uuid)
    ),
    known as materialized (
        select g.* from horsies.error_groups g
        where not g.is_other and g.task_name = any (array(select c.task_name from content c))
    ),
    by_frame as materialized (
        select k.task_name, k.error_code, k.frame, count(*) as messages from known k group by 1, 2, 3
    ),
    fresh as (
        select c.*, coalesce(b.messages, 0) + row_number() over (
                   partition by c.task_name, c.error_code, c.frame order by c.first_seen, c.message) as nth_message
        from content c
        left join by_frame b using (task_name, error_code, frame)
        where not exists (select from known k where k.task_name = c.task_name and k.digest = c.digest)
    ),
    allowed as (
        select f.*, row_number() over (
                   partition by f.task_name order by f.first_seen, f.error_code, f.frame, f.message)
               + coalesce((select sum(b.messages) from by_frame b where b.task_name = f.task_name), 0) as nth_group
        from fresh f where f.nth_message <= 20
    ),
    own as materialized (
        select k.task_name, k.digest, k.error_code, k.frame from known k
        union all
        select a.task_name, a.digest, a.error_code, a.frame from allowed a where a.nth_group <= 950
    ),
    full_frame as materialized (
        select o.task_name, o.error_code, o.frame from own o group by 1, 2, 3 having count(*) >= 20
    ),
    placed as materialized (
        select c.*, o.digest is null as is_other,
               case when o.digest is not null or f.frame is not null then c.error_code else 'other' end as group_code,
               case when o.digest is not null or f.frame is not null then c.frame else '' end as group_frame,
               case when o.digest is not null then c.message else 'other' end as group_message
        from content c
        left join own o using (task_name, digest)
        left join full_frame f on f.task_name = c.task_name and f.error_code = c.error_code and f.frame = c.frame
    ),
    found as (
        insert into horsies.error_groups as g
            (task_name, digest, error_code, frame, message, is_other, first_seen, last_seen, example_id)
        select p.task_name, horsies.error_digest(p.is_other, p.group_code, p.group_frame, p.group_message),
               p.group_code, p.group_frame, p.group_message, p.is_other, min(p.first_seen), max(p.last_seen),
               (array_agg(p.example_id order by p.last_seen desc))[1]
        from placed p group by p.task_name, p.is_other, p.group_code, p.group_frame, p.group_message
        on conflict (task_name, digest) do update
        set first_seen = least(g.first_seen, excluded.first_seen),
            last_seen = greatest(g.last_seen, excluded.last_seen),
            example_id = case when excluded.last_seen >= g.last_seen then excluded.example_id else g.example_id end
        returning g.id, g.task_name, g.is_other, g.error_code, g.frame, g.message
    )
    select p.task_name, p.error_code, p.frame, p.message, f.id
    from placed p
    join found f on f.task_name = p.task_name and f.is_other = p.is_other and f.error_code = p.group_code
                and f.frame = p.group_frame and f.message = p.group_message;
end
$function$;
