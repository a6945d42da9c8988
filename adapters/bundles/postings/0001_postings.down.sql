-- Takes the tables of 0001_postings.up.sql away, with every row in them. What somebody else made in the schema is in the
-- way and stays.
drop view postings.live_metadata;
drop table postings.receipt;
drop table postings.metadata;
drop table postings.posting;
drop table postings.transaction;
drop table postings.balance;
drop table postings.account;
drop table postings.storage;
drop function postings.refuse_change();
drop schema postings;
