-- Purpose: Return the digest of the properties of an error group. They may be too long for a key of an index.
-- Locks: none.
-- Called by: group_errors.
-- Granted to: nobody.
create function horsies.error_digest(is_other boolean, error_code text, frame text, message text) returns bytea
language sql stable as $function$
    select sha256(convert_to(json_build_array(is_other, error_code, frame, message)::text, 'UTF8'))
$function$;
