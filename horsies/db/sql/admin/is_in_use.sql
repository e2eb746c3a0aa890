-- Whether a schema with the clock of production contains tasks or workers, so that it does not belong to tests.
select exists (select from horsies.tasks)
       or exists (select from horsies.history)
       or exists (select from horsies.workers)
