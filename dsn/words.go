package dsn

// The words that bounces are made of, in lower case. They are searched for in
// texts in which every run of blanks and line ends is one blank. A phrase must
// be of a kind that people do not begin a letter with: alone it decides nothing
// (see kind.go), but it is what tells a bounce from a machine's other mail.

// sayFailed are phrases of final failure.
var sayFailed = []string{
	"could not be delivered", "couldn't be delivered", "cannot be delivered", "can't be delivered", "can not be delivered",
	"wasn't able to deliver", "was not able to deliver", "were unable to deliver", "was unable to deliver", "unable to deliver",
	"not be delivered", "was not delivered", "were not delivered", "wasn't delivered", "not delivered to", "has not been delivered",
	"failed permanently", "permanent fatal errors", "permanent delivery errors", "had fatal errors",
	"delivery failed", "delivery has failed", "failed to deliver", "delivery to the following", "delivery failure", "error delivering",
	"had delivery problems", "had delivery errors", "delivery errors", "did not reach", "not reach the following",
	"undeliverable", "undelivered", "non-deliverable", "nondeliverable", "returned to sender", "returned to you",
	"transcript of session follows", "transcript of the attempts", "unsent message follows", "failure reasons",
	"has been rejected", "was rejected by", "been rejected by", "was rejected because", "rejected your message", "email you sent was rejected",
	"your message was rejected", "message you sent was rejected", "blocked by our", "error has occurred while attempting to deliver",
	"could not be sent", "couldn't send", "cannot send message", "did not receive this message", "mail delivery error",
	"this is a permanent error", "permanent failure", "given up", "no further delivery attempts", "unable to be delivered",
	"recipient does not exist", "recipients do not exist", "unknown user:", "user unknown", "no such user", "unrouteable address",
	"original message follows", "your message did not", "could not deliver", "couldn't deliver", "cannot deliver", "failed recipient",
	"problems delivering", "problem delivering", "the following error", "has been returned", "is being returned", "was returned",
	"address was not found", "address not found", "address couldn't be found", "account is disabled", "message has been blocked",
	"was not accepted", "has been refused", "delivery attempts failed", "attempted to send",
	"failed addresses follow", "no valid recipients", "has been postponed", "no se pudo entregar", "no se ha podido entregar", "no se puede entregar", "error en la entrega", "no pudo ser entregado",
	"n'a pas pu être", "n'a pas pu etre", "chec de la remise", "n'a pu être remis", "impossible de remettre",
	"konnte nicht zugestellt", "konnten nicht zugestellt", "nicht zugestellt werden", "unzustellbar", "fehler bei der zustellung",
	"non recapitabile", "non è stato possibile recapitare", "recapito non riuscito", "impossibile recapitare",
	"não pôde ser entregue", "nao pode ser entregue", "falha na entrega", "kan niet worden", "niet worden bezorgd", "niet afgeleverd",
	"nie może być", "nie została dostarczona", "kunne ikke leveres", "kunde inte levereras", "не может быть доставлено", "не доставлено",
	"недоставлен", "не удалось доставить", "送信できません", "配信できません", "送信されません", "お届けできません", "配送できません", "不达", "無法傳遞", "无法传递",
	"无法送达", "退信", "teslim edilemedi", "doručit",
}

// sayDelayed are phrases of delay. Where they stand, those above do not count.
var sayDelayed = []string{
	"warning message only", "has been delayed", "delivery delayed", "is delayed", "was delayed", "do not need to resend", "not been delivered yet",
	"not yet been delivered", "still being retried", "will continue to be attempted", "message will be retried",
	"will be retried for", "will keep trying", "continue to try", "delivery attempts will continue", "queued for delivery",
	"not yet delivered", "could not send message for past", "could not send mail for past", "will retry for", "deferred for", "still trying",
	"has been temporarily delayed", "temporary failure; will", "retry for another", "continue to try to deliver", "attempts will continue", "still be retried", "not need to do anything",
}

// sayRecipients are phrases after which recipients are named.
var sayRecipients = []string{
	"recipient", "address", "addresses", "following user", "deliver", "failure reasons", "did not reach", "undeliver", "permanent error",
	"destinatai", "destinatari", "empfänger", "ontvanger", "mottagare", "odbiorc", "получател", "宛先", "メールアドレス", "收件人", "fatal errors",
	"was not sent to", "rejected", "failed",
}

// lineFailed are words of a line that says that the address in it failed, and
// labelWords those that stand before a recipient.
var lineFailed = []string{
	"unknown", "fail", "undeliver", "reject", "not found", "no such", "not listed", "invalid", "does not exist", "unable", "could not", "full",
	"unavailable", "disabled", "recipient", "not exist", "mailbox", "delivered",
}

var labelWords = []string{"recipient", "user", "deliver", "address", "rcpt", "mailbox", "failed", "sent to", "intended for"}

// subjectFailed and subjectDelayed are subjects of bounces.
var subjectFailed = []string{
	"undeliver", "delivery failure", "delivery failed", "failure notice", "returned mail", "delivery status", "delivery notification",
	"delivery fail", "delivery has failed", "returned to sender", "not be delivered", "not delivered", "non-delivery", "nondeliver",
	"non delivery", "non recapitabile", "non remis", "unzustellbar", "no se puede entregar", "no entregado", "mail system error",
	"delivery problem", "delivery error", "delivery report", "failed mail", "mail failure", "bounce notification", "bounced mail",
	"considered unsolicited", "could not send", "cannot send", "unable to deliver", "message status", "transcript for details",
	"blocked by our", "mail could not", "message you sent blocked", "returning message", "unknown user", "user unknown",
	"недоставлен", "не доставлено", "не может быть доставлено", "エラーメール", "メールエラー", "送信エラー", "配信エラー", "配信できません", "退信", "não entregue", "niet bezorgd",
	"errors from", "returning to sender", "mail failed", "mail error", "delivery to the following", "message delivery", "failed delivery", "rejected mail", "rejected message",
	"mail delivery", "nicht zustellbar", "échec de la remise", "onbestelbaar", "olevererbart", "nie można dostarczyć", "fehlgeschlagen",
}

var subjectDelayed = []string{
	"(delay)", "delayed", "warning: could not send", "warning--could not send", "warning: message", "still in queue", "notification: warning",
	"delivery warning", "verzögert", "retardé", "still being retried", "not yet delivered",
}

var subjectAuto = []string{
	"out of office", "out of the office", "automatic reply", "auto reply", "autoreply", "auto-reply", "automatic response", "autorespon",
	"auto response", "vacation", "on holiday", "away from", "away until", "abwesen", "réponse automatique", "absence du bureau", "respuesta automática",
	"risposta automatica", "resposta automática", "автоответ", "自動返信", "自动回复", "afwezig", "ticket received", "thank you for contacting",
}

var subjectChallenge = []string{
	"please confirm your message", "confirm your email", "challenge", "verify your message", "sender verification", "your message requires",
	"message held for confirmation", "needs your confirmation", "requires confirmation", "verification required", "please verify yourself",
	"spam arrest", "action required to deliver",
}

var sayChallenge = []string{
	"confirm that you are a human", "prove that you are", "click the link below to", "reply to this message to confirm", "simply reply to this message",
	"has not been delivered yet because", "challenge/response", "one-time confirmation", "be placed on the whitelist", "added to my list of approved",
	"verify that you are", "you need to authenticate", "complete this one-time", "in order to deliver your message, please", "before it is released",
}

// daemonNames are local parts, and daemonPhrases display names, of bounces.
var daemonNames = []string{
	"mailer-daemon", "mailerdaemon", "mail-daemon", "mailer_daemon", "mdaemon", "mail.delivery.system", "double-bounce", "mmdf",
	"post_master", "mail-delivery", "maildelivery", "bounce-handler", "delivery-failure", "maildaemon", "mailer",
}

var daemonPhrases = []string{
	"mail deliver", "mailer-daemon", "mailer daemon", "delivery subsystem", "mail administrator", "delivery system", "content-filter",
	"mail system", "message delivery", "smtp gateway", "internet mail", "system administrator", "mail router",
}

// replyMarks begin the subjects of replies and forwards.
var replyMarks = []string{
	"re:", "fwd:", "fw:", "aw:", "wg:", "tr:", "rv:", "sv:", "vs:", "vb:", "antw:", "enc:", "i:", "r:", "re[", "[fwd", "odp:", "pd:", "回复", "转发", "答复",
}
