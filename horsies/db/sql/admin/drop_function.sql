drop function horsies.{signature}
