-- How much there is to replay.
select (select count(*) from postings.transaction)::text as transactions, (select count(*) from postings.posting)::text as postings
