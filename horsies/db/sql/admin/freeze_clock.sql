-- Freezes the clock of a database of tests at a time.
insert into horsies.clock (frozen_at, shift) values (%s, '0')
on conflict (only_row) do update set frozen_at = excluded.frozen_at, shift = excluded.shift
