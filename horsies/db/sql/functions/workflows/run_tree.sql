-- Purpose: Return these runs and all runs below them, at any depth, that have not ended.
-- Planner settings: see docs/architecture.md.
-- Locks: none.
-- Called by: workflow_cancel, workflow_pause, workflow_resume.
-- Granted to: nobody.
create function horsies.run_tree(tops uuid[]) returns uuid[]
language sql stable set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $function$
    with recursive tree as (
        select w.id from horsies.workflows w where w.id = any (tops) and w.finished_at is null
        union
        select w.id from tree join horsies.workflows w on w.parent_id = tree.id where w.finished_at is null
    )
    select array_agg(tree.id) from tree
$function$;
