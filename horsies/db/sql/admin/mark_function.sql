comment on function horsies.{signature} is '{mark}';
