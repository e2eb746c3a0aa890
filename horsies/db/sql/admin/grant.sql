grant usage on schema horsies. to {role};
grant execute on function
    {functions}
to {role};
