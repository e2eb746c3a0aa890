-- Purpose: Compute a digest by which two JSON documents can be compared. It does not depend on white space, on the
-- order of keys, or on trailing zeros of fractions: Python writes the number 1 of a float parameter as 1.0. A document
-- that is no valid jsonb (because it contains a NUL character, for example) is compared by its bytes.
--
-- The pattern finds strings first, so that the digits in them are left alone; then fractions of zeros; then the zeros
-- at the end of a fraction. In the text of a jsonb, numbers have no exponents.
--
-- Locks: none.
-- Called by: claim_key, enqueue_once.
-- Granted to: nobody.
create function horsies.json_digest(document text) returns bytea
language plpgsql stable as $function$
declare
    normal text;
begin
    normal := document::jsonb::text;
    if position('.' in normal) > 0 then
        normal := regexp_replace(
            normal, E'("([^"\\\\]|\\\\.)*")|[.]0+(?![0-9])|([.][0-9]*[1-9])0+(?![0-9])', E'\\1\\3', 'g');
    end if;
    return sha256(convert_to(normal, 'UTF8'));
exception when data_exception or program_limit_exceeded then
    return sha256(convert_to(document, 'UTF8'));
end
$function$;
