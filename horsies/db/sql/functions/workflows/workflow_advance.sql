-- Purpose: Advance workflow runs after some of their nodes have ended. Each iteration of the loop is a wave. A wave
-- handles all ended nodes of all runs together, and its results are the ended nodes of the next wave. The loop ends
-- when a wave ends no further node, which is the fixpoint: no rule applies to any node any more.
--
--       ended nodes (runs, indexes)
--              |
--              v
--   1. count them in their runs <-------------------------------+
--              |                                                |
--              v                                                |
--   2. pause runs with on_error = 'pause' that have a failure   |
--              |                                                |
--              v                                                |
--   3. update each dependent once, and decide:                  |
--        open dependencies left   -> PENDING (stays)            |
--        enough have completed    -> READY   --> collected      |
--        can no longer complete   -> SKIPPED --> next wave -----+
--              |                                                |
--              v                                                |
--   4. settle runs without open nodes;                          |
--      their nodes in parent runs    --------> next wave -------+
--              |
--              v  (no ended nodes left)
--   5. enqueue the READY nodes of all waves
--
-- The loop terminates because every node ends at most once and each further wave consists of nodes that the previous
-- wave ended. A dependent is updated once per wave, however many of its dependencies ended. The cost of a wave is
-- therefore the number of dependents of its nodes, and does not depend on the size of the runs.
--
-- `needed` is how many dependencies must complete; the node is decided as soon as possible. Null means all of them;
-- the node is then decided when the last dependency has ended. `first_failed_dependency` is a position in
-- `waits_for`: the first dependency in that order that did not complete. The `dependency_index` of the error is the
-- index, within the run, of the node at that position.
--
-- Planner settings: see docs/architecture.md.
-- Locks: none. The caller holds the root runs, under which alone nodes change.
-- Called by: workflow_cancel, workflow_map, workflow_note, workflow_resume.
-- Granted to: nobody.
create function horsies.workflow_advance(runs uuid[], indexes int[]) returns void
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off set plan_cache_mode = force_generic_plan
as $function$
declare
    clock constant timestamptz := horsies.now();
    counted_runs uuid[]; to_pause uuid[];
    skipped_runs uuid[]; skipped_indexes int[];     -- of this wave
    found_runs uuid[]; found_indexes int[];         -- of one statement
    ready_runs uuid[]; ready_indexes int[];         -- of all waves
begin
    while cardinality(runs) > 0 loop
        -- Step 1: count the ended nodes.
        with wave as (
            select n.workflow_id, count(*) filter (where n.status = 'COMPLETED') as completed,
                   count(*) filter (where n.status = 'SKIPPED') as skipped,
                   array_agg(n.index order by n.index) filter (where n.status = 'FAILED') as failures
            from unnest(runs, indexes) as given (run, index)
            join horsies.workflow_nodes n on n.workflow_id = given.run and n.index = given.index
            group by n.workflow_id
        ),
        counted as (
            update horsies.workflows w
            set completed = w.completed + wave.completed, skipped = w.skipped + wave.skipped,
                failed = w.failed + coalesce(cardinality(wave.failures), 0),
                failed_index = coalesce(w.failed_index, wave.failures[1])
            from wave where w.id = wave.workflow_id
            returning w.id, w.status = 'RUNNING' and w.on_error = 'pause' and not wave.failures <@ w.optional
                            as must_pause
        )
        select array_agg(counted.id), array_agg(counted.id) filter (where counted.must_pause)
        into counted_runs, to_pause
        from counted;
        -- Step 2: pause the runs that ask for a pause on failure.
        if to_pause is not null then
            perform horsies.workflow_pause(to_pause);
        end if;

        -- Step 3: update the dependents, one row each, and decide which become READY or SKIPPED.
        with news as (
            select e.workflow_id, e.target, count(*)::int as ended,
                   (count(*) filter (where s.status = 'COMPLETED'))::int as completed,
                   min(e.place) filter (where s.status <> 'COMPLETED') as first_failed_dependency
            from unnest(runs, indexes) as given (run, index)
            join horsies.workflow_nodes s on s.workflow_id = given.run and s.index = given.index
            join horsies.workflow_edges e on e.workflow_id = given.run and e.source = given.index
            group by e.workflow_id, e.target
        ),
        known as (
            select n.workflow_id, n.index, n.status, n.needed, n.allow_failed_deps,
                   least(n.first_failed_dependency, news.first_failed_dependency) as first_failed_dependency,
                   n.open_deps - news.ended as open, n.completed_deps + news.completed as completed,
                   n.waits_for, cardinality(n.waits_for) as deps
            from news join horsies.workflow_nodes n on n.workflow_id = news.workflow_id and n.index = news.target
        ),
        decided as (
            select k.*, case
                when k.status <> 'PENDING' or k.needed is null and k.open > 0 then null
                when k.needed is null and not k.allow_failed_deps and k.completed < k.deps then 'SKIPPED'
                when k.needed is null or k.completed >= k.needed then 'READY'
                when k.completed + k.open < k.needed then 'SKIPPED'
            end as becomes
            from known k
        ),
        moved as (
            update horsies.workflow_nodes n
            set open_deps = d.open, completed_deps = d.completed,
                first_failed_dependency = d.first_failed_dependency, status = coalesce(d.becomes, n.status),
                result = case d.becomes when 'SKIPPED' then horsies.task_error(
                    'UPSTREAM_SKIPPED', 'a dependency did not complete',
                    json_build_object('dependency_index', d.waits_for[d.first_failed_dependency + 1]))
                    else n.result end,
                error_code = case d.becomes when 'SKIPPED' then 'UPSTREAM_SKIPPED' else n.error_code end,
                finished_at = case d.becomes when 'SKIPPED' then clock else n.finished_at end
            from decided d where n.workflow_id = d.workflow_id and n.index = d.index
            returning n.workflow_id as run, n.index, d.becomes
        )
        select array_agg(m.run) filter (where m.becomes = 'SKIPPED'),
               array_agg(m.index) filter (where m.becomes = 'SKIPPED'),
               array_agg(m.run) filter (where m.becomes = 'READY'),
               array_agg(m.index) filter (where m.becomes = 'READY')
        into skipped_runs, skipped_indexes, found_runs, found_indexes
        from moved m;
        ready_runs := ready_runs || found_runs;
        ready_indexes := ready_indexes || found_indexes;

        -- Step 4: settle the runs that have no open node left. The next wave: skipped nodes, and nodes of parent runs.
        select array_agg(parent.run), array_agg(parent.index) into found_runs, found_indexes
        from horsies.workflow_settle(counted_runs) as parent;
        runs := skipped_runs || found_runs;
        indexes := skipped_indexes || found_indexes;
    end loop;
    -- Step 5: only now enqueue the READY nodes, because a later wave may have paused their run.
    if horsies.workflow_enqueue(ready_runs, ready_indexes) > 0 then
        perform horsies.announce_wake();
    end if;
end
$function$;
