-- Purpose: Send the task of a schedule now, even if it is not due. Returns the task that stands for the send: the new
-- one, or the live one that keeps a unique task from being sent. Null means that there is no such schedule. A call may
-- be replayed with the same `new_id`. The action of `who` is recorded if a task was sent.
-- Locks: the schedule's row, then those of `schedule_send`.
-- Called by: queries/schedules.py.
-- Granted to: operator.
create function horsies.schedule_run(schedule_name text, new_id uuid, who text default null) returns uuid
security definer set search_path = pg_catalog, pg_temp
language plpgsql as $function$
declare
    answer record;
begin
    perform horsies.durable();
    perform from horsies.schedules s where s.name = schedule_name for update;
    if not found then
        return null;
    end if;
    select * into answer from horsies.schedule_send(schedule_name, new_id);
    if answer.verdict = 'sent' then
        update horsies.schedules s
        set last_run_at = horsies.now(), last_task_id = new_id, run_count = s.run_count + 1
        where s.name = schedule_name;
        perform horsies.record_action(who, 'schedule.run', array[schedule_name],
                                      json_build_object('task_id', new_id));
    end if;
    return answer.task_id;
end
$function$;
