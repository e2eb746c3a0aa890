-- Returns how full the notification queue of the server is, from 0 to 1. The server removes the notifications that all
-- listeners have read, so that a queue that was full has room again.
select pg_notification_queue_usage()
