"""Does this installation compute what it should? Known numbers, file hashes, and a dated certificate.

``python -m pmg_eval.verify`` runs it; nothing is sent anywhere, and nothing is written but the files asked for.
"""

from pmg_eval.verify._case import Case, Checked, check
from pmg_eval.verify._certificate import Certificate, certify, shipped
from pmg_eval.verify._files import Installation, installation
from pmg_eval.verify._own import read

__all__ = ["Case", "Certificate", "Checked", "Installation", "certify", "check", "installation", "read", "shipped"]
