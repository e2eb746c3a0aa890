delete from horsies.grants where role_name = {role_literal} and kind in ({kinds});
