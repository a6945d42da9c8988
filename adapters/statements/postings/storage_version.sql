-- The version of the tables.
select s.version from postings.storage s
