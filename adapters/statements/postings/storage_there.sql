-- Whether the tables are there at all.
select pg_catalog.to_regclass('postings.storage') is not null as there
