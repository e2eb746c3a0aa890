-- Purpose: Make the id of a task that is sent from SQL, or of a record of an action: a UUIDv7 of this time with random
-- bits. PostgreSQL 12 has no function that makes a random UUID, so there the bits are a hash of what distinguishes
-- calls: the process and its transaction, the time, and random numbers.
-- Locks: none.
-- Called by: bulk_step, record_action, send.
-- Granted to: nobody.
create function horsies.new_task_id(clock timestamptz) returns uuid
language plpgsql volatile as $function$
declare
    milliseconds constant text := lpad(to_hex(floor(extract(epoch from clock) * 1000)::bigint), 12, '0');
    bits text;
begin
    if current_setting('server_version_num')::int >= 130000 then
        bits := replace(gen_random_uuid()::text, '-', '');
    else
        bits := md5(float8send(random()) || float8send(random()) || timestamptz_send(clock_timestamp())
                    || int4send(pg_backend_pid()) || int8send(txid_current()));
    end if;
    -- 12 random bits follow the version 7; 62 follow the variant, whose digit is one of 8, 9, a and b.
    return (milliseconds || '7' || substr(bits, 1, 3) || translate(substr(bits, 4, 1), '01234567cdef', '89ab89ab89ab')
            || right(bits, 15))::uuid;
end
$function$;
