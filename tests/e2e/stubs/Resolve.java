import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.UnknownHostException;

/** Java's resolver: the IPv4 address of each name. */
class Resolve {
	public static void main(String[] names) {
		for (String name : names) {
			String text = "none";
			try {
				for (InetAddress address : InetAddress.getAllByName(name)) {
					if (address instanceof Inet4Address) {
						text = address.getHostAddress();
					}
				}
			} catch (UnknownHostException e) {
				text = "none";
			}
			System.out.println(name + " " + text);
		}
	}
}
