-- The switch's number while it lets work go on, and the released holds that would bear on a run: saga, subject, run.
select (select max(s.switch_no) from redress.switch s where s.state = 'run') as switch_no,
       array(
         select h.id from redress.hold h
         where h.released_at is not null
           and (h.scope = 'all'
             or (h.scope = 'saga' and h.target = $1)
             or (h.scope = 'subject' and h.target = $2)
             or (h.scope = 'run' and h.target = $3::uuid::text))
         order by h.id) as holds
