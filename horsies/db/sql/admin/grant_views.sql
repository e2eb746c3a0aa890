grant select on
    {views}
to {role};
