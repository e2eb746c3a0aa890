revoke usage on schema horsies. from {role};
