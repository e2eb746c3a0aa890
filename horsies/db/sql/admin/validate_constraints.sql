do $validate$
declare
    unchecked record;
begin
    for unchecked in
        select c.conrelid::regclass as its_table, c.conname from pg_constraint c
        where c.connamespace = '{horsies}'::regnamespace and c.contype = 'c' and not c.convalidated
        order by c.conrelid, c.conname
    loop
        execute format('alter table %s validate constraint %I', unchecked.its_table, unchecked.conname);
    end loop;
end
$validate$
