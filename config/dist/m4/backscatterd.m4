divert(-1)
dnl
dnl FEATURE(`backscatterd')
dnl FEATURE(`backscatterd', `SOCKET')
dnl FEATURE(`backscatterd', `SOCKET', `T')
dnl
dnl has sendmail ask backscatterd about each message. SOCKET is what
dnl milter.listen says in backscatterd.toml. The third
dnl argument is the F= of INPUT_MAIL_FILTER: T defers mail and R refuses it while
dnl the filter is away; without it mail passes.
dnl
dnl Put it behind the filters that mark spam, and above the MAILER lines.
dnl
dnl Connecting (C) may take 10 seconds, in which TCP has tried three times: of a
dnl filter whose host is down, each message would wait sendmail's five minutes
dnl else. Each part of a message has 10 seconds to be taken (S) and to be answered
dnl (R), and the whole of it a minute for its verdict (E), in which a name server
dnl may be asked.
dnl
divert(0)
VERSIONID(`backscatterd.m4')
divert(-1)
INPUT_MAIL_FILTER(`backscatterd', `S='ifelse(len(X`'_ARG_), `1', `unix:/run/backscatterd/milter.sock', `_ARG_')`'ifelse(len(X`'_ARG2_), `1', `', ``, F='_ARG2_')`, T=C:10s;S:10s;R:10s;E:1m')
