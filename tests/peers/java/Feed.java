import java.io.BufferedReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Makes a topic and fills it from a file: Feed BOOTSTRAP TOPIC PARTITIONS FILE.
 *
 * A line is PARTITION, KEY and VALUE with tabs between: the key chooses where the partition is left out, and a value that
 * is left out is none (a tombstone). Records of a key stay in the order of their lines.
 */
final class Feed {
    private Feed() {}

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String topic = arguments[1];
        int partitions = Integer.parseInt(arguments[2]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap,
                "acks", "all",
                "enable.idempotence", "true",
                "linger.ms", "5",
                "batch.size", "262144",
                "buffer.memory", "67108864");
        AtomicReference<Exception> failed = new AtomicReference<>();
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, serializer, serializer);
                BufferedReader lines = Files.newBufferedReader(Path.of(arguments[3]))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] fields = line.split("\t", 3);
                Integer partition = fields[0].isEmpty() ? null : Integer.valueOf(fields[0]);
                byte[] value = fields[2].isEmpty() ? null : bytes(fields[2]);
                var record = new ProducerRecord<>(topic, partition, bytes(fields[1]), value);
                producer.send(record, (at, error) -> failed.compareAndSet(null, error));
            }
        }
        if (failed.get() != null) {
            throw failed.get();
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
