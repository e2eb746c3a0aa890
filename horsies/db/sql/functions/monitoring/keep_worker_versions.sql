-- Purpose: Keep the versions of live workers, and delete those of workers that have stopped more than a week ago.
-- Planner settings: see docs/architecture.md.
-- Locks: rows of `worker_versions`.
-- Called by: sample_errors.
-- Granted to: nobody.
create function horsies.keep_worker_versions() returns void
language plpgsql
set enable_seqscan = off set jit = off
as $function$
declare
    clock constant timestamptz := horsies.server_time();
begin
    insert into horsies.worker_versions (worker_id, library_version, app_version, seen_at, first_seen)
    select w.id, w.library_version, w.app_version, clock, w.started_at from horsies.workers w
    where not exists (select from horsies.worker_versions v where v.worker_id = w.id)
    on conflict do nothing;
    update horsies.worker_versions v set seen_at = clock
    from horsies.workers w where w.id = v.worker_id and v.seen_at < clock - interval '1 hour';
    delete from horsies.worker_versions v where v.seen_at < clock - interval '7 days';
end
$function$;
