-- Purpose: Return the document of a stored text without its secrets. A text with secrets consists of two JSON texts as
-- in RFC 7464, each after the character 001E: the first one is redacted, the second one is complete. Any other text is
-- one JSON text, without secrets.
-- Locks: none.
-- Called by: enqueue_many, finish_batch, insert_unique, move_to_history.
-- Granted to: nobody.
create function horsies.public_part(document text) returns json
language sql stable as $function$
    select case when starts_with(document, E'\x1e') then split_part(document, E'\x1e', 2) else document end::json
$function$;
