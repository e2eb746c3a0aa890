insert into horsies.grants (role_name, kind) values ({role_literal}, '{kind}')
on conflict (role_name, kind) do nothing;
