-- Records an applied migration. Returns nothing. Placeholders: schema and the values as literals.
insert into {schema}.migration (number, name, checksum, user_id_type, item_id_type)
values ({number}, {name_literal}, {checksum_literal}, {user_id_type_literal}, {item_id_type_literal});
