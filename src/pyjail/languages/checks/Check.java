import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.stream.LongStream;

public class Check {
    public static void main(String[] args) throws Exception {
        Scanner in = new Scanner(System.in);
        switch (in.next()) {
            case "hello":
                System.out.println("hello");
                break;
            case "stdin":
                long sum = 0;
                while (in.hasNextLong()) sum += in.nextLong();
                System.out.println(sum);
                break;
            case "exception":
                throw new IllegalStateException("as asked");
            case "memory":
                List<byte[]> kept = new ArrayList<>();
                while (true) kept.add(new byte[1 << 20]);
            case "threads":
                long[] sums = new long[4];
                Thread[] threads = new Thread[4];
                for (int i = 0; i < 4; i++) {
                    int mine = i;
                    threads[i] = new Thread(() -> sums[mine] = LongStream.range(0, 1000).sum());
                    threads[i].start();
                }
                for (Thread thread : threads) thread.join();
                System.out.println(LongStream.of(sums).sum());
                break;
            case "cpus":
                System.out.println(Runtime.getRuntime().availableProcessors());
        }
    }
}
