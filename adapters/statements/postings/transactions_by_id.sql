-- What reversals need to know of transactions, and whether each is reversed already: ids.
select t.id, t.captured, r.id as reversed_by,
       pg_catalog.to_char(t.effective_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as effective
from postings.transaction t
left join postings.transaction r on r.reverses = t.id
where t.id = any ($1::uuid[])
