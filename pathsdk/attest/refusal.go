package attest

import "errors"

// Code says in one word why a bundle or a referrer is refused. Codes don't change:
// others act on them.
type Code string

// Why something is refused.
const (
	// RefusedUnreadable: a registry did not give it, or not with its digest.
	RefusedUnreadable Code = "unreadable"
	// RefusedNoBundle: it is a referrer of another kind.
	RefusedNoBundle Code = "no-bundle"
	// RefusedMalformed: it is no bundle around one signed statement.
	RefusedMalformed Code = "malformed"
	// RefusedUnknownSigner: nobody in the trust root has its key or name.
	RefusedUnknownSigner Code = "unknown-signer"
	// RefusedAmbiguousSigner: several in the trust root have its name.
	RefusedAmbiguousSigner Code = "ambiguous-signer"
	// RefusedNoLog: no transparency log of the trusted root proves that it has it.
	RefusedNoLog Code = "no-log-proof"
	// RefusedNoTime: nobody in the trusted root says when it was signed.
	RefusedNoTime Code = "no-trusted-time"
	// RefusedCertificate: the certificate is not by an authority of the trusted root.
	RefusedCertificate Code = "untrusted-certificate"
	// RefusedExpired: the certificate was not valid when it was used.
	RefusedExpired Code = "expired-certificate"
	// RefusedSignature: the signature is not by that key over that statement.
	RefusedSignature Code = "bad-signature"
	// RefusedSubject: it is about something else than it hangs on.
	RefusedSubject Code = "wrong-subject"
	// RefusedReference: it refers to something else than one predicate that we read.
	RefusedReference Code = "bad-reference"
	// RefusedLost: the predicate that it refers to is not in the image's repository, or
	// not with its digest and size.
	RefusedLost Code = "unreadable-predicate"
	// RefusedPredicate: the predicate that it refers to is not what its type demands.
	RefusedPredicate Code = "malformed-predicate"
)

// refusal is an error with a code.
type refusal struct {
	code Code
	error
}

func (r refusal) Unwrap() error { return r.error }

func refuse(code Code, err error) error {
	if err == nil {
		return nil
	}
	return refusal{code, err}
}

// CodeOf is the code of an error of Verify or Collect; the innermost, which knows
// best. It is empty for other errors.
func CodeOf(err error) Code {
	var code Code
	for {
		var r refusal
		if !errors.As(err, &r) {
			return code
		}
		code, err = r.code, r.error
	}
}
