-- Error groups that a new version of the app has brought. The versions of workers are asked for by version.
create index worker_versions_by_version on horsies.worker_versions (app_version);
