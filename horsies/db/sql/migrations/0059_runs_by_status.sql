-- Lists of the workflow runs of a status, also of those that have ended, without reading the runs of other statuses.
drop index horsies.workflows_live;
create index workflows_by_status on horsies.workflows (status, started_at) where parent_id is null;

-- When the worker was started; new versions of the app are found by it. '-infinity': before this release.
alter table horsies.worker_versions add column first_seen timestamptz not null default '-infinity';
drop index horsies.worker_versions_by_version;
create index worker_versions_by_version on horsies.worker_versions (app_version, first_seen);
create index worker_versions_by_start on horsies.worker_versions (first_seen);

-- What the worker has said last about its children: their memory, and the last deaths.
alter table horsies.workers add column children json;
