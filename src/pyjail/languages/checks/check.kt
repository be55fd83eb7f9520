import kotlin.concurrent.thread

fun main() {
    when (readLine()!!) {
        "hello" -> println("hello")
        "stdin" -> println(readLine()!!.split(" ").map { it.toLong() }.sum())
        "exception" -> throw IllegalStateException("as asked")
        "memory" -> {
            val kept = ArrayList<ByteArray>()
            while (true) kept.add(ByteArray(1 shl 20))
        }
        "threads" -> {
            val sums = LongArray(4)
            (0..3).map { thread { sums[it] = (0L..999L).sum() } }.forEach { it.join() }
            println(sums.sum())
        }
        "cpus" -> println(Runtime.getRuntime().availableProcessors())
    }
}
