-- What `horsies db grant` has granted. A migration grants it again, also for functions that it adds.
create table horsies.grants (
    role_name text not null,
    kind text not null
        constraint kind_is_known check (kind in ('producer', 'worker', 'viewer', 'arguments', 'operator')),
    granted_by text not null default session_user,
    granted_at timestamptz not null default clock_timestamp(),
    primary key (role_name, kind)
);

-- From here on, a comment marks each function that horsies has created. Functions of earlier versions get their comment
-- here: these are all signatures that there ever were. A first installation has no version yet, so it finds none.
do $do$
declare
    signature text;
    known constant text[] := array[
        'add_partitions(int)',
        'cancel(uuid)',
        'cancel_many(uuid[])',
        'claim(uuid, bigint, int, int, double precision, text[], text[])',
        'claim(uuid, bigint, int, text[], text[])',
        'claimable(uuid, text[], int)',
        'database_identity()',
        'due_id(text, timestamptz)',
        'durable()',
        'duty_lock()',
        'end_tasks(uuid[], text, json, text, timestamptz)',
        'ended_among(uuid[])',
        'ended_codes(int)',
        'enqueue(uuid, text, text, int, json, bytea, double precision, timestamptz, json, int, boolean)',
        'expire(int)',
        'expired_tasks(int)',
        'find_ended(uuid)',
        'finish(uuid, uuid[], bigint[], boolean[], text[], text[], double precision[], text, int[], text[])',
        'finish_batch(uuid, uuid[], bigint[], boolean[], text[], text[], double precision[], text, int[], text[])',
        'forget_workers(double precision)',
        'hand_back(uuid[], boolean)',
        'hand_back_stale(double precision, int)',
        'health()',
        'heartbeat(uuid)',
        'heartbeat(uuid, double precision)',
        'list_tasks(text[], text, text, int, int)',
        'list_tasks(text[], text, text, text[], timestamptz, timestamptz, int, int)',
        'local_workers(text, text)',
        'lock_roots(uuid[])',
        'maintenance_lock()',
        'move_to_history(uuid[], boolean[], text, text[], text[], text[], int[], text[], timestamptz, uuid, bigint[])',
        'need_read_committed()',
        'neighbours(text, text)',
        'node_task_id(timestamptz, int, text)',
        'notify_cancel(uuid)',
        'notify_cancel_many(uuid[])',
        'notify_done(uuid[])',
        'notify_room(uuid, text[])',
        'notify_wake()',
        'now()',
        'progress(uuid, int, json)',
        'prune(double precision)',
        'queue_control(text, text, int)',
        'queue_stats(text[])',
        'reap(uuid, int)',
        'reap_stale(double precision, int)',
        'reconcile(uuid, uuid[], bigint[])',
        'relaxed()',
        'release(uuid, uuid[], bigint[])',
        'renew(uuid, uuid[], bigint[], double precision, double precision)',
        'rerun(uuid, uuid)',
        'rerun_many(uuid[], int[], uuid[])',
        'rerunnable(text[], text, text, text[], timestamptz, timestamptz, boolean, int)',
        'retry_at(json, int, text, double precision, timestamptz, timestamptz)',
        'return_stale_to_queue(double precision, int)',
        'return_to_queue(uuid[], boolean)',
        'run_tree(uuid[])',
        'schedule_define(text, text, text, text, text, text, int, json, json, int, bytea, timestamptz)',
        'schedule_lead(text[], interval)',
        'schedule_pause(text, boolean)',
        'schedule_run(text, uuid)',
        'schedule_states()',
        'schedule_tick(text, text, timestamptz, timestamptz[], timestamptz)',
        'stale_tasks(double precision, int)',
        'start(uuid, uuid[], bigint[])',
        'task_attempts(uuid)',
        'task_error(text, text, json)',
        'task_info(uuid)',
        'task_info(uuid, boolean)',
        'task_result(uuid)',
        'uuid_time(uuid)',
        'waiting_names(int)',
        'why(uuid)',
        'why_run(uuid)',
        'why_run(uuid, int)',
        'within_caps(uuid[], text[], int[], int)',
        'worker_start(uuid, text, int, text, text, text, text, text, int, int, text[], int[], int, text[], double precision)',
        'worker_start(uuid, text, int, text, text, text, text, text, int, int, text[], text[], double precision)',
        'worker_stats()',
        'worker_stop(uuid)',
        'workflow_advance(uuid[], int[])',
        'workflow_attach(uuid, int, uuid, json, bytea)',
        'workflow_cancel(uuid[])',
        'workflow_control(uuid, text)',
        'workflow_end_nodes(uuid[])',
        'workflow_enqueue(uuid[], int[])',
        'workflow_inputs(uuid, int, int)',
        'workflow_insert(uuid, uuid, uuid, int, text, json, bytea)',
        'workflow_list(text, int)',
        'workflow_map(uuid, int)',
        'workflow_note(uuid[], timestamptz)',
        'workflow_note_items(uuid[], timestamptz)',
        'workflow_pause(uuid[])',
        'workflow_prune(double precision, int)',
        'workflow_resume(uuid[])',
        'workflow_send_items(uuid[], int[])',
        'workflow_settle(uuid[])',
        'workflow_start(uuid, json, bytea)',
        'workflow_state(uuid)',
        'workflow_tasks(uuid, text, boolean)'
    ];
begin
    if not exists (select from horsies.schema_version) then
        return;
    end if;
    foreach signature in array known loop
        if to_regprocedure('{horsies}.' || signature) is not null then
            execute format('comment on function %s is %L', to_regprocedure('{horsies}.' || signature),
                           'Created by horsies, and replaced or dropped when it migrates the schema.');
        end if;
    end loop;
end
$do$;
