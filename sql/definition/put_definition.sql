-- Registers a definition; false when it stands already: digest, saga, version, bytes, by.
select redress.put_definition($1, $2, $3, $4, $5)
