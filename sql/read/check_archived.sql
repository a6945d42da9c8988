-- Archived runs by the act that took them out: how many, their records, the digest over their ids, and how many of them
-- have no leaf where they ended or are not gone.
select a.generation, a.act_seq, count(*) as runs, sum(a.seq)::bigint as records,
       sha256(string_agg(uuid_send(a.run), ''::bytea order by a.run)) as digest,
       count(*) filter (where l.hash is distinct from a.head) as unsealed,
       count(*) filter (where r.id is not null) as back
from redress.archived_run a
left join redress.leaf l on l.run = a.run and l.seq = a.seq and l.generation = a.generation
left join redress.run r on r.id = a.run
group by a.generation, a.act_seq
order by a.generation, a.act_seq
