-- Transactions whose captured postings are not their postings; those of an older format have none captured.
select t.id, t.captured is null as legacy
from postings.transaction t
where t.captured is null
   or t.captured is distinct from (
        select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                 'source', p.source, 'destination', p.destination, 'asset', p.asset, 'amount', p.amount::text)
                 order by p.number)
        from postings.posting p
        where p.transaction = t.id)
order by t.id
limit $1
