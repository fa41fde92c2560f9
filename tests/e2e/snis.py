"""snis.py HOST DOMAIN COUNT [own]: COUNT TLS handshakes, each for another name, nN.DOMAIN, at HOST's address; `own`:
at its own name's. Prints how many were completed and how many were refused by an alert; then how many different
certificates HOST itself showed in ten more."""
import concurrent.futures
import socket
import ssl
import sys

HOST, DOMAIN, COUNT, OWN = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ["own"]
ADDRESS = socket.getaddrinfo(HOST, 443, socket.AF_INET)[0][4]
CONTEXT = ssl.create_default_context()


def certificate(name, address):
    with socket.create_connection(address, 30) as sock, CONTEXT.wrap_socket(sock, server_hostname=name) as tls:
        return tls.getpeercert(binary_form=True)


def attempt(number):
    name = f"n{number}.{DOMAIN}"
    try:
        certificate(name, (name, 443) if OWN else ADDRESS)
        return True
    except ssl.SSLError as error:
        if "ALERT" not in error.reason and "UNRECOGNIZED_NAME" not in error.reason:
            raise
        return False


def main():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(COUNT)))
    print(sum(outcomes), len(outcomes) - sum(outcomes))
    print(len({certificate(HOST, ADDRESS) for _ in range(10)}))


main()
