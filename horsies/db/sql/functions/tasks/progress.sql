-- Purpose: a running task says how far it has come; with null it only asks. False: this attempt runs no more, for the
-- task was cancelled or its claim is lost. An attempt that has begun never gives its number back, so that the number
-- is as good as the fence. Who has `started_at` runs; to ask for the status would offer the planner `tasks_in_hand`, and
-- one look would read all that is in hand.
-- Locks: the task's row. Called by: children, about the tasks they run.
create function horsies.progress(running_task uuid, running_attempt int, report json) returns boolean
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $function$
begin
    if report is null then
        return exists (select from horsies.tasks t
                       where t.id = running_task and t.attempt = running_attempt and t.started_at is not null);
    end if;
    perform horsies.relaxed();
    update horsies.tasks t set progress = report
    where t.id = running_task and t.attempt = running_attempt and t.started_at is not null;
    return found;
end
$function$;
