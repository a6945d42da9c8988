-- Notes a migration: version, name, SHA-256 of its text.
insert into redress.migration (version, name, sha256) values ($1, $2, $3)
