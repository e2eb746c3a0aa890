-- Purpose: Send the task of a schedule, with its uniqueness. Returns the task that stands for the send and the verdict
-- of `enqueue` or `enqueue_once`. The caller has locked the schedule's row.
-- Locks: those of `enqueue` or `enqueue_once`.
-- Called by: schedule_run, schedule_tick.
-- Granted to: nobody.
create function horsies.schedule_send(schedule_name text, new_id uuid) returns table (task_id uuid, verdict text)
language plpgsql as $function$
declare
    schedule horsies.schedules;
begin
    select s.* into schedule from horsies.schedules s where s.name = schedule_name;
    if schedule.unique_until is null then
        task_id := new_id;
        verdict := horsies.enqueue(
            new_id, schedule.task_name, schedule.queue, schedule.priority, schedule.args, schedule.fingerprint, 0,
            null, schedule.retry_policy, schedule.timeout_ms, true, schedule.task_key,
            null, schedule.secret_args);
        return next;
    else
        perform horsies.need_read_committed();
        return query select e.task_id, e.verdict from horsies.enqueue_once(
            array[new_id], array[schedule.task_name], array[schedule.queue], array[schedule.priority::int],
            array[case when schedule.secret_args is null then schedule.args::text
                       else concat(E'\x1e', schedule.args, E'\x1e', schedule.secret_args) end],
            array[schedule.fingerprint], array[0::double precision],
            array[null::timestamptz], array[schedule.retry_policy::text], array[schedule.timeout_ms], true,
            false, array[null::text], array[coalesce(schedule.secret_unique_args, schedule.unique_args)::text],
            array[schedule.unique_until],
            array[schedule.unique_on_conflict], array[schedule.unique_max_wait], array[schedule.task_key]) as e;
    end if;
end
$function$;
