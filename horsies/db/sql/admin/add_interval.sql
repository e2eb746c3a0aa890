-- A time after another one.
select %s::timestamptz + %s::interval
