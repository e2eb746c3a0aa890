comment on view horsies.{view} is '{mark}';
