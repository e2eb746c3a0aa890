-- Purpose: Return the complete document of a stored text that has secrets; null if the text has none. See
-- `public_part`.
-- Locks: none.
-- Called by: enqueue_many, enqueue_once, insert_unique, move_to_history.
-- Granted to: nobody.
create function horsies.secret_part(document text) returns json
language sql stable as $function$
    select case when starts_with(document, E'\x1e') then split_part(document, E'\x1e', 3)::json end
$function$;
