-- Purpose: Return when this session looks again at all rows of a regulated queue, or null if it uses no marks of the
-- queue at present. See `keep_claim_marks` and `keep_turn_marks`.
-- Locks: none.
-- Called by: claim_regulated.
-- Granted to: nobody.
create function horsies.marks_until(queue_name text, clock timestamptz) returns timestamptz
language plpgsql as $function$
begin
    return (
        select min(m.until)
        from (select (t.value ->> 'from')::timestamptz as since, (t.value ->> 'until')::timestamptz as until
              from jsonb_each(horsies.turn_marks(queue_name)) as t (name, value)
              union all
              select (p.marks ->> 'from')::timestamptz, (p.marks ->> 'until')::timestamptz
              from horsies.claim_marks(array[queue_name], 'horsies.claim_marks_' || md5(queue_name)) as p (marks)
        ) as m
        where clock between m.since and m.until);
end
$function$;
