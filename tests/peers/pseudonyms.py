"""Prints the pseudonym of each address on standard input, by the key of 64 hexadecimal digits in a file."""

import sys

from yacryptopan import CryptoPAn

with open(sys.argv[1]) as file:
    pan = CryptoPAn(bytes.fromhex(file.read().strip()))
for line in sys.stdin:
    print(pan.anonymize(line.strip()))
