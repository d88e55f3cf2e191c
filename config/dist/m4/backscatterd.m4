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
dnl It connects for at most 10 seconds (C), waits 10 seconds for each part of a
dnl message to be taken (S) and to be answered (R), and a minute for the answer to
dnl the whole of it (E).
dnl
divert(0)
VERSIONID(`backscatterd.m4')
divert(-1)
INPUT_MAIL_FILTER(`backscatterd', `S='ifelse(len(X`'_ARG_), `1', `unix:/run/backscatterd/milter.sock', `_ARG_')`'ifelse(len(X`'_ARG2_), `1', `', ``, F='_ARG2_')`, T=C:10s;S:10s;R:10s;E:1m')
