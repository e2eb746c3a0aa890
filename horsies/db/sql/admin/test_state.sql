-- Whether a worker is registered, and whether the clock is frozen: a test may have rolled both back.
select exists (select from horsies.workers w where w.id = %s),
       exists (select from horsies.clock c where c.frozen_at is not null)
